"""A client as in many tutorials: GBK, no line end, one recv for each answer.

Usage: ack_client.py HOST PORT. It sends each line that it reads, until `exit`.
"""
import socket
import sys

client = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
client.connect((sys.argv[1], int(sys.argv[2])))
for line in sys.stdin:
    msg = line.rstrip('\n')
    client.send(msg.encode('gbk'))
    print(client.recv(1024).decode('gbk'), flush=True)
    if msg == 'exit':
        print('after exit:', client.recv(1024), flush=True)
        break
client.close()
