#![no_main]
//! Any bytes for HTTP/2: as what comes first on a connection, and as a request that is sent again.

use libfuzzer_sys::fuzz_target;
use pure::rules::protocol::goaway::Frames;
use pure::rules::protocol::stream;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

fuzz_target!(|data: &[u8]| {
    // the pieces in which the bytes come make no difference
    let (first, rest) = data.split_first().map_or((1, data), |(first, rest)| (*first, rest));
    let size = usize::from(first).max(1);

    assert_eq!(read(rest.chunks(size)), read([rest].into_iter()));
    assert_eq!(read(rest.chunks(1)), read([rest].into_iter()));

    // what is seen of a GOAWAY was there
    if let (_, Some(last)) = read([rest].into_iter()) {
        assert!(last <= u32::MAX >> 1);
        assert!(rest.windows(4).any(|bytes| bytes[0] & 0x7f == last.to_be_bytes()[0]
            && bytes[1..] == last.to_be_bytes()[1..]));
    }

    // what begins no connection stays, and else no more than the numbers of streams change, once
    let request = [PREFACE, data].concat();

    for request in [data, &request] {
        let mut sent = request.to_vec();
        stream::make_first(&mut sent);

        assert!(request.starts_with(PREFACE) || sent == request);
        assert_eq!(sent.len(), request.len());

        let mut again = sent.clone();
        stream::make_first(&mut again);
        assert_eq!(again, sent);
    }
});

fn read<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> (bool, Option<u32>) {
    let mut frames = Frames::default();
    let mut goes_on = true;

    for piece in pieces {
        goes_on = goes_on && frames.read(piece);
    }

    (goes_on, frames.last_stream())
}
