//! Sockets: bound before they listen, and closed when a client stops reading.

use std::any::Any;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, Type};

/// Connections that the system holds until they are accepted.
const BACKLOG: i32 = 2048;

/// A bound address that refuses connections until [`BoundSocket::listen`].
pub(super) struct BoundSocket {
    socket: Socket,
    addr: SocketAddr,
}

impl BoundSocket {
    /// Binds an address; port 0 takes any free port.
    pub(super) fn bind(addr: SocketAddr) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        socket.bind(&addr.into())?;
        let bound = socket.local_addr()?.as_socket();
        let addr = bound.ok_or_else(|| io::Error::other("a TCP socket without an address"))?;
        Ok(Self { socket, addr })
    }

    /// The address, with the port that was taken.
    pub(super) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Begins to take connections.
    pub(super) fn listen(&self) -> io::Result<TcpListener> {
        self.socket.listen(BACKLOG)?;
        self.socket.set_nonblocking(true)?;
        Ok(self.socket.try_clone()?.into())
    }
}

/// Has the system close a connection whose client reads nothing of what was sent for `timeout`.
/// Otherwise a client that never reads would hold its slot forever.
pub(super) fn limit_writes(connection: &dyn Any, timeout: Duration) {
    let Some(stream) = connection.downcast_ref::<actix_web::rt::net::TcpStream>() else { return };
    #[cfg(target_os = "linux")]
    if let Err(error) = SockRef::from(stream).set_tcp_user_timeout(Some(timeout)) {
        tracing::debug!(%error, "cannot limit how long a client may take to read");
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (SockRef::from(stream), timeout);
}
