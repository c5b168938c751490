run lambda { |env|
  env['rack.input'].read

  [200, { 'content-type' => 'text/plain', 'x-connection' => env['puma.socket'].remote_address.ip_port.to_s }, ["ok\n"]]
}
