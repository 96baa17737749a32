"""Sends two messages at once, and prints what comes back, to the end.

Usage: two_quick_messages.py HOST PORT CHARSET [lines]. With `lines` each message ends with a line end.
"""
import socket
import sys

charset = sys.argv[3]
end = '\n' if 'lines' in sys.argv else ''
client = socket.create_connection((sys.argv[1], int(sys.argv[2])))
client.send(('你好' + end).encode(charset))
client.send(('再见' + end).encode(charset))
client.shutdown(socket.SHUT_WR)
print('sent', flush=True)
answers = b''
while True:
    data = client.recv(1024)
    if not data:
        break
    answers += data
print(answers.decode(charset), flush=True)
client.close()
