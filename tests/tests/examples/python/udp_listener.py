"""Receives datagrams and answers none, so it shows what the other end sends of its own accord. Ends at `exit`.

Usage: udp_listener.py HOST PORT. It first sends `hello` to that address.
"""
import socket
import sys

listener = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
listener.bind(('127.0.0.1', 0))
listener.settimeout(30)
listener.sendto('hello'.encode('gbk'), (sys.argv[1], int(sys.argv[2])))
msg = ''
while msg != 'exit':
    msg = listener.recv(1024).decode('gbk')
    print(msg, flush=True)
listener.close()
