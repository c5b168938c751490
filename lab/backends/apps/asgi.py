async def answer(scope, receive, send):
    assert scope["type"] == "http"

    while (await receive()).get("more_body"):
        pass

    _, port = scope["client"]
    headers = [(b"content-length", b"3"), (b"x-connection", str(port).encode())]

    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"ok\n"})
