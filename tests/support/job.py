"""`python` as the jobs of a tested workflow call it: hands its command to `warm.Jobs` and waits.

It imports next to nothing: argv is the socket, then the command of the job.
"""

import json
import os
import socket
import sys

with socket.socket(socket.AF_UNIX) as server:
    server.connect(sys.argv[1])
    socket.send_fds(server, [b"."], [0, 1, 2])
    server.sendall(json.dumps([os.getcwd(), sys.argv[2:], dict(os.environ)]).encode() + b"\n")
    status = server.recv(16)
sys.exit(int(status or 1))
