package main

import (
	"fmt"
	"strings"

	"github.com/urfave/cli/v3"
)

// option is a flag whose values are read by a function of ours, whose errors
// say what would be right.
type option[T any] = cli.FlagBase[T, func(string) (T, error), value[T]]

func flag[T any](name, usage string, to *T, def T, parse func(string) (T, error)) *option[T] {
	return &option[T]{Name: name, Usage: usage, Destination: to, Value: def, Config: parse, Sources: twinOf(name), Local: true, HideDefault: isZero(def)}
}

func alias[T any](name string, f *option[T]) *option[T] {
	f.Aliases = append(f.Aliases, name)
	return f
}

func isZero[T any](v T) bool {
	s := fmt.Sprint(v)
	return s == "" || s == "0" || s == "0s" || s == "false"
}

type value[T any] struct {
	to    *T
	parse func(string) (T, error)
}

func (value[T]) Create(def T, to *T, parse func(string) (T, error)) cli.Value {
	*to = def
	return &value[T]{to, parse}
}

func (value[T]) ToString(v T) string { return fmt.Sprint(v) }
func (v *value[T]) String() string   { return fmt.Sprint(*v.to) }
func (v *value[T]) Get() any         { return *v.to }

func (v *value[T]) Set(s string) (err error) {
	*v.to, err = v.parse(s)
	return err
}

func (v *value[T]) IsBoolFlag() bool {
	_, is := any(*v.to).(bool)
	return is
}

// listOption is one that may be repeated, and take several values with commas
// between them.
type listOption[T any] = cli.FlagBase[[]T, func(string) (T, error), values[T]]

func list[T any](name, usage string, to *[]T, def []T, parse func(string) (T, error)) *listOption[T] {
	return &listOption[T]{Name: name, Usage: usage, Destination: to, Value: def, Config: parse, Sources: twinOf(name), Local: true, HideDefault: len(def) == 0}
}

type values[T any] struct {
	to    *[]T
	parse func(string) (T, error)
	set   bool
}

func (values[T]) Create(def []T, to *[]T, parse func(string) (T, error)) cli.Value {
	*to = def
	return &values[T]{to: to, parse: parse}
}

func (values[T]) ToString(v []T) string { return strings.Trim(fmt.Sprint(v), "[]") }
func (v *values[T]) String() string     { return v.ToString(*v.to) }
func (v *values[T]) Get() any           { return *v.to }

// Set replaces the default, and then adds.
func (v *values[T]) Set(s string) error {
	if !v.set {
		*v.to, v.set = nil, true
	}
	for part := range strings.SplitSeq(s, ",") {
		one, err := v.parse(strings.TrimSpace(part))
		if err != nil {
			return err
		}
		*v.to = append(*v.to, one)
	}
	return nil
}

// twinOf is where a flag's value comes from if the command line has none:
// DIALMUX_QUEUE_WAIT for --queue-wait.
func twinOf(name string) cli.ValueSourceChain { return cli.EnvVars(twin(name)) }

func twin(name string) string {
	return "DIALMUX_" + strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
}

// both complains if two flags that say the same thing are given.
func both(a, b string) error {
	return fmt.Errorf("--%s (%s) and --%s (%s) say the same thing; keep one of them", a, twin(a), b, twin(b))
}
