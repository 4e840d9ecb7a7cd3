# usage: rep.rb NAME [ENDPOINT]     ($DIALMUX_TOKEN is shown to the router if it is set)
require 'ffi-rzmq'
require 'msgpack'

# When nothing refers to its context any more, the gem waits for the sockets to close: for ever.
CONTEXT = ZMQ::Context.new

# Gives each request, a map and a body, to the block, which returns the answer's map and body.
def serve(name, endpoint)
  socket = CONTEXT.socket(ZMQ::REP)
  socket.setsockopt(ZMQ::PLAIN_USERNAME, name)
  socket.setsockopt(ZMQ::PLAIN_PASSWORD, ENV['DIALMUX_TOKEN']) if ENV['DIALMUX_TOKEN']
  { ZMQ::HEARTBEAT_IVL => 2000, ZMQ::HEARTBEAT_TIMEOUT => 6000 }.each do |option, ms| # the gem's setsockopt lacks both
    value = FFI::MemoryPointer.new(:int).write_int(ms)
    LibZMQ.zmq_setsockopt(socket.socket, option, value, value.size)
  end
  socket.connect(endpoint || 'tcp://127.0.0.1:8000')

  loop do
    parts = []
    abort 'the socket was closed' unless ZMQ::Util.resultcode_ok?(socket.recv_strings(parts))
    head, body = yield MessagePack.unpack(parts[0]), parts[1]
    socket.send_strings([head.to_msgpack, body])
  end
end

if $PROGRAM_NAME == __FILE__
  name, endpoint = ARGV
  abort 'usage: rep.rb NAME [ENDPOINT]' unless name
  serve(name, endpoint) do |request|
    [{ status: 200, headers: { 'Content-Type' => 'text/plain', 'X-Path' => request['path'] } }, "Hello from #{name}\n"]
  end
end
