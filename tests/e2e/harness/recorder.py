"""An HTTPS server that notes what it is asked and answers with content that a test chooses."""

import http.server
import ssl
import threading


class Recorder:
    def __init__(self, identity):
        self.content = b""
        self.requests = []
        recorder = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                recorder.requests.append((self.command, self.path, dict(self.headers)))
                found = recorder.content is not None
                self.send_response(200 if found else 404)
                self.send_header("Content-Length", str(len(recorder.content or b"")))
                self.end_headers()
                self.wfile.write(recorder.content or b"")

            def log_message(self, *_):
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*map(str, identity))
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.url = f"https://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self):
        self._server.shutdown()
        self._server.server_close()
