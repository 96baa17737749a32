"""The other end of a UDP conversation, as in many tutorials: GBK, one recvfrom for each answer.

Usage: udp_client.py HOST PORT. It sends each line that it reads to that address, until `exit`.
"""
import socket
import sys

server = (sys.argv[1], int(sys.argv[2]))
client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
client.bind(('127.0.0.1', 0))
client.settimeout(30)
print('bound to port', client.getsockname()[1], flush=True)
for line in sys.stdin:
    msg = line.rstrip('\n')
    client.sendto(msg.encode('gbk'), server)
    data, sender = client.recvfrom(1024)
    print(data.decode('gbk'), flush=True)
    if msg == 'exit':
        break
client.close()
