def answer(environ, start_response):
    environ["wsgi.input"].read()
    start_response("200 OK", [("Content-Length", "3"), ("X-Connection", environ["REMOTE_PORT"])])
    return [b"ok\n"]
