run lambda { |_env|
  sleep 0.05 # so that whoever kills it kills it amid a request
  [200, { "content-type" => "text/plain" }, ["Hello from Rack\n"]]
}
