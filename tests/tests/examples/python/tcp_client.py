"""A client as in many tutorials: no line end, one recv for each answer.

Usage: tcp_client.py HOST PORT CHARSET. It sends each line that it reads, until `exit`.
"""
import socket
import sys

charset = sys.argv[3]
client = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
client.connect((sys.argv[1], int(sys.argv[2])))
for line in sys.stdin:
    msg = line.rstrip('\n')
    client.send(msg.encode(charset))
    print(client.recv(1024).decode(charset), flush=True)
    if msg == 'exit':
        print('after exit:', client.recv(1024), flush=True)
        break
client.close()
