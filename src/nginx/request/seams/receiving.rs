//! What comes first on a reused connection, where it may be HTTP/2: nginx reads a GOAWAY and says nothing of it, so the
//! connection's `recv` stands behind one of the module's until the header of the response comes.

use core::cell::Cell;

use nginx_sys::{
    nginx_version, ngx_connection_t, ngx_http_request_t, ngx_http_upstream_t, ngx_recv_pt, u_char,
    NGX_ERROR,
};

use crate::nginx::api::array;
use crate::nginx::api::connection::Connection;
use crate::nginx::request::callbacks;
use crate::rules::protocol::goaway::Frames;

/// The `recv` that is wrapped, if it is, and what was read by it.
pub struct Receiving {
    recv: Cell<ngx_recv_pt>,
    frames: Cell<Frames>,
}

impl Receiving {
    pub fn none() -> Self {
        Self { recv: Cell::new(None), frames: Cell::new(Frames::default()) }
    }

    /// Begins to read along.
    pub fn begin(&self, connection: Connection, upstream: &ngx_http_upstream_t) {
        if !may_be_http2(upstream) {
            return;
        }

        self.frames.set(Frames::default());

        // SAFETY: the connection is open, and nginx does not read meanwhile.
        let recv = unsafe { &mut (*connection.as_ptr()).recv };

        self.recv.set(recv.replace(receive));
    }

    /// Puts nginx's `recv` in its place again.
    pub fn end(&self, connection: Connection) {
        if let Some(recv) = self.recv.take() {
            // SAFETY: the connection is that of `begin`, and is open.
            unsafe { (*connection.as_ptr()).recv = Some(recv) };
        }
    }

    /// Whether the backend has said that it does not carry out the request that is the last one on the connection.
    pub fn is_goaway(&self, connection: Connection) -> bool {
        // SAFETY: the connection is open.
        let requests = unsafe { (*connection.as_ptr()).requests };
        // the streams of a client have odd numbers
        let stream = requests.saturating_mul(2).saturating_sub(1);

        self.frames.get().last_stream().is_some_and(|last| (last as usize) < stream)
    }

    fn read(&self, connection: Connection, bytes: &[u8]) {
        let mut frames = self.frames.get();
        let more = frames.read(bytes);

        self.frames.set(frames);

        if !more {
            self.end(connection);
        }
    }
}

/// Whether the backend is spoken to in HTTP/2: in gRPC it is, and from 1.29.4 on nginx has it for others.
pub fn may_be_http2(upstream: &ngx_http_upstream_t) -> bool {
    let schema = upstream.schema.as_bytes();

    schema.starts_with(b"grpc") || nginx_version >= 1_029_004 && schema.starts_with(b"http")
}

/// nginx reads from the connection.
unsafe extern "C" fn receive(c: *mut ngx_connection_t, buf: *mut u_char, size: usize) -> isize {
    // SAFETY: nginx passes an open connection, which belongs to a request from `get` to `free`.
    let request = unsafe { (*c).data.cast::<ngx_http_request_t>().as_ref() };
    // SAFETY: as above.
    let connection = unsafe { Connection::from_raw(c) };

    let Some((data, connection)) = request.and_then(callbacks::data_of).zip(connection) else {
        return NGX_ERROR as isize;
    };

    let receiving = data.receiving();

    let Some(recv) = receiving.recv.get() else {
        return NGX_ERROR as isize;
    };

    // SAFETY: it is called as nginx would.
    let n = unsafe { recv(c, buf, size) };

    if let Ok(len) = usize::try_from(n) {
        // SAFETY: so many bytes were written there.
        receiving.read(connection, unsafe { array::from_raw(buf.cast_const(), len) });
    }

    n
}
