# Serves the paths of frame/CONFORM.md that are for REP workers, with rep.rb's socket. $DIALMUX_ROUTER is dialled.
require 'uri'
require_relative 'rep'

serve('conform-rep', ENV['DIALMUX_ROUTER']) do |request, body|
  path, query = request['path'].split('?', 2)
  query = URI.decode_www_form(query.to_s).to_h
  case path
  when '/echo' then [{}, body]
  when '/bytes' then [{}, "\0" * query['n'].to_i]
  when '/slow'
    sleep(query['ms'].to_i / 1000.0)
    [{}, '']
  when %r{\A/status/(\d+)\z} then [{ status: Regexp.last_match(1).to_i }, '']
  when '/fields' # str stays str, and bin, which is text that is not UTF-8, stays bin
    [{ headers: request['headers'].select { |name, _| name.start_with?('x-') } }, '']
  else [{ status: 404 }, '']
  end
end
