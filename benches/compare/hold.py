"""Opens keep-alive connections, asks once on each, says `held N` and keeps them until it is ended.

hold.py PORT COUNT plain|tls
"""

import signal
import socket
import ssl
import sys
from concurrent.futures import ThreadPoolExecutor

REQUEST = b"GET /c/1k HTTP/1.1\r\nHost: localhost\r\n\r\n"


def ask(connection):
    connection.sendall(REQUEST)
    reply = b""
    while True:
        piece = connection.recv(65536)
        if not piece:
            raise OSError("a connection was closed")
        reply += piece
        head, end, body = reply.partition(b"\r\n\r\n")
        if end and len(body) >= 1024:
            break
    if not head.startswith(b"HTTP/1.1 200"):
        raise OSError(f"the reply was {head[:60]!r}")


def main():
    port, count, kind = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE

    def hold(_):
        connection = socket.create_connection(("127.0.0.1", port), 30)
        if kind == "tls":
            connection = context.wrap_socket(connection, server_hostname="localhost")
        ask(connection)
        return connection

    with ThreadPoolExecutor(8) as pool:
        held = list(pool.map(hold, range(count)))
    print(f"held {len(held)}", flush=True)
    signal.pause()


main()
