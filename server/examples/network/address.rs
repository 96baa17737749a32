//! The address where an example serves.

use crate::stage::{Failure, text};
use std::io::{Error, ErrorKind};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

/// An IP address and a port; or a port, perhaps after `localhost:`, which is one of 127.0.0.1.
pub fn parse(text: &str) -> Result<SocketAddr, String> {
    if let Ok(port) = text.strip_prefix("localhost:").unwrap_or(text).parse::<u16>() {
        return Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    }
    text.parse().map_err(|_| {
        "give an IP address and a port, such as 127.0.0.1:9000, or a port alone".to_owned()
    })
}

/// A socket that listens on `address`. After a server has ended, another one can listen there at
/// once: the standard library sets SO_REUSEADDR.
pub fn listen(address: SocketAddr) -> Result<TcpListener, Failure> {
    TcpListener::bind(address).map_err(|error| cannot_bind(address, &error))
}

/// Says that the kernel refused an address, and what to do.
pub fn cannot_bind(address: SocketAddr, error: &Error) -> Failure {
    let remedy = match error.kind() {
        ErrorKind::AddrInUse => text!(
            "; another program has this address (the chat server, perhaps): end that program (`ss -lntup` shows it), or give another address after --serve",
            "；该地址已被其他程序占用（可能是聊天服务器）：请先结束那个程序（用 `ss -lntup` 查看），或在 --serve 之后换一个地址"
        ),
        ErrorKind::AddrNotAvailable => text!(
            "; this machine does not have this address: give one that it has, such as 127.0.0.1",
            "；本机没有这个地址：请换成本机的地址，例如 127.0.0.1"
        ),
        ErrorKind::PermissionDenied => {
            text!("; give a port from 1024 on", "；请使用 1024 及以上的端口")
        }
        _ => String::new(),
    };
    Failure(text!(
        "cannot listen on {address}: {error}{remedy}",
        "无法监听 {address}：{error}{remedy}"
    ))
}
