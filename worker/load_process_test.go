package worker

import (
	"bufio"
	"fmt"
	"os"
	"strconv"

	"github.com/dialmux/dialmux/internal/zmtp"
)

// benchRouter in the environment makes the test's binary a router, which sends what this process is measured with.
const benchRouter = "DIALMUX_BENCH_ROUTER"

// routerProcess prints an endpoint, lets one worker join and sends it so many requests as each line of stdin says.
func routerProcess() error {
	listen, err := zmtp.Listen("tcp://127.0.0.1:0")
	if err != nil {
		return err
	}
	defer listen.Close()
	fmt.Println(zmtp.Bound(listen))
	l, err := acceptLoad(listen)
	if err != nil {
		return err
	}
	defer l.close()
	fields := benchGET()
	orders := bufio.NewScanner(os.Stdin)
	for orders.Scan() {
		n, err := strconv.Atoi(orders.Text())
		if err != nil {
			return err
		}
		if err := l.run(n, fields, nil, 0); err != nil {
			return err
		}
		fmt.Println("done")
	}
	return orders.Err()
}
