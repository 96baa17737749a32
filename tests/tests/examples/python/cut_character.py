"""Sends the first byte of 你好, and the others when a line comes from standard input. Prints the answers.

Usage: cut_character.py HOST PORT CHARSET
"""
import socket
import sys

charset = sys.argv[3]
message = '你好'.encode(charset)
client = socket.create_connection((sys.argv[1], int(sys.argv[2])))
client.send(message[:1])
sys.stdin.readline()
client.send(message[1:])
print(client.recv(1024).decode(charset), flush=True)
client.close()
