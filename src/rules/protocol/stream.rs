#![forbid(unsafe_code)]
//! The number of the stream of a request, in HTTP/2.
//!
//! nginx writes it into the request when that goes out on a cached connection, on which it is not the first one. When the
//! request is then sent again, on a fresh connection, nginx expects the response on stream 1, and leaves the request as
//! it is: see `ngx_http_grpc_body_output_filter()` in nginx's src/http/modules/ngx_http_grpc_module.c.

/// With this a connection begins (RFC 9113, section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;

const FIRST: [u8; 4] = [0, 0, 0, 1];

/// Makes a request that is the first one on its connection one of stream 1. What does not begin a connection in HTTP/2
/// is left as it is.
pub fn make_first(request: &mut [u8]) {
    if !request.starts_with(PREFACE) {
        return;
    }

    let mut rest = request.get_mut(PREFACE.len()..).unwrap_or_default();

    while let Some((head, payload)) = rest.split_first_chunk_mut::<9>() {
        let [l1, l2, l3, kind, _, stream @ ..] = head;
        let length = u32::from_be_bytes([0, *l1, *l2, *l3]);

        if matches!(*kind, HEADERS | CONTINUATION) {
            *stream = FIRST;
        }

        rest = payload.get_mut(length as usize..).unwrap_or_default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    fn request(stream: u8) -> Vec<u8> {
        let settings = [0, 0, 6, 4, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6];
        let window = [0, 0, 4, 8, 0, 0, 0, 0, 0, 9, 9, 9, 9];
        let headers = [0, 0, 2, HEADERS, 0, 0, 0, 0, stream, 7, 7];
        let continuation = [0, 0, 0, CONTINUATION, 4, 0, 0, 0, stream];

        [PREFACE, &settings, &window, &headers, &continuation].concat()
    }

    #[test]
    fn first() {
        let mut sent = request(5);
        make_first(&mut sent);

        assert_eq!(sent, request(1));
    }

    #[test]
    fn left_as_it_is() {
        let without_preface = request(5).split_off(PREFACE.len());
        let cases = [
            request(1),
            without_preface,
            b"POST / HTTP/1.1\r\n\r\n".to_vec(),
            PREFACE.to_vec(),
            [PREFACE, &[255; 9]].concat(),
            [PREFACE, &[0, 0, 9, 4, 0, 0, 0, 0]].concat(),
            Vec::new(),
        ];

        for case in cases {
            let mut sent = case.clone();
            make_first(&mut sent);

            assert_eq!(sent, case);
        }
    }
}
