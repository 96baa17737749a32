use super::*;
use memchr::memmem;
use proptest::prelude::*;

fn name(bytes: &[u8]) -> Option<&'static str> {
    recognise(bytes).map(|protocol| protocol.name)
}

#[test]
fn other_protocols_are_recognised_by_their_first_bytes() {
    for (bytes, expected) in [
        (&b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"[..], "HTTP"),
        (b"POST /x?y HTTP/1.0\r", "HTTP"),
        (b"\r\nGET / HTTP/1.1\r\n", "HTTP"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "HTTP/2"),
        (b"GET /\r\n", "HTTP"),
        (b"GET /index.html\n", "HTTP"),
        (b"GET http://example.org/ HTTP/1.1\r\n", "HTTP"),
        (b"get / http/1.1\r\n", "HTTP"),
        (b"Get /x HTTP/1.0\n", "HTTP"),
        (b"OPTIONS * HTTP/1.1\r\n", "HTTP"),
        (b"CONNECT example.org:443 HTTP/1.1\r\n", "HTTP"),
        (b"M-SEARCH * HTTP/1.1\r\n", "HTTP"),
        (b"OPTIONS / RTSP/1.0\r\n", "RTSP"),
        (b"OPTIONS * RTSP/1.0\r\n", "RTSP"),
        (b"OPTIONS sip:nm SIP/2.0\r\n", "SIP"),
        (b"HTTP/1.1 200 OK\r\n", "HTTP response"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "TLS"),
        (b"\x80\x2e\x01\x03\x01\x00\x15", "TLS"),
        (b"SSH-2.0-OpenSSH_10.0\r\n", "SSH"),
        (b"SSH-1.99-x\n", "SSH"),
        (b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n", "PROXY protocol"),
        (b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c", "PROXY protocol"),
        (b"CAP LS 302\r\n", "IRC"),
        (b"USER bob 0 * :Bob\r\n", "IRC"),
        (b"NICK bob\r\nUSER bob 0 * :Bob B\r\n", "IRC"),
        (b"PASS x\r\nNICK bob\r\nUSER bob 0 * :Bob\r\n", "IRC"),
        (b"EHLO x\r\nMAIL FROM:<a@b>\r\n", "SMTP"),
        (b"EHLO x\r\nSTARTTLS\r\n", "SMTP"),
        (b"EHLO a.b\r\n", "SMTP"),
        (b"helo mail.example.org \n", "SMTP"),
        (b"LHLO localhost\r\n", "SMTP"),
        (b"EHLO [127.0.0.1]\r\n", "SMTP"),
        (b"EHLO [IPv6:::1]\r\n", "SMTP"),
        (
            b"<?xml version='1.0'?><stream:stream to='x' xmlns='jabber:client' \
              xmlns:stream='http://etherx.jabber.org/streams'>",
            "XMPP",
        ),
        (b"<?xml version='1.0'?><stream:stream to='x'", "XMPP"),
        (b"<?xml version='1.0'?>\n <stream:stream ", "XMPP"),
        (b"<stream:stream to='x'>", "XMPP"),
        (b"<policy-file-request/>\0", "Flash"),
        (b"set k 0 0 5\r\nhello\r\n", "memcached"),
        (b"add user:1 0 3600 5 noreply\r\n", "memcached"),
        (b"cas k 0 0 5 77\r\n", "memcached"),
        (b"*1\r\n$4\r\nPING\r\n", "Redis"),
        (b"FLUSHALL ASYNC\r\n", "Redis"),
        (b"delete /x HTTP/1.1\r\n", "HTTP"),
        (b"X / HTTP/1.1\r\n", "HTTP"),
        (b"GET  / HTTP/1.1 \r\n", "HTTP"),
        (b"GET\t/\tHTTP/1.1\r\n", "HTTP"),
        (b"GET /my file.txt HTTP/1.1\r\n", "HTTP"),
        (b"SOURCE /mount ICE/1.0\r\n", "Icecast"),
        (b"{\"id\": 1, \"method\": \"mining.subscribe\", \"params\": []}\n", "JSON-RPC"),
        (b"CONNECT {\"user\":\"a\",\"pass\":\"b\"}\r\n", "NATS"),
        (b"\xff\0\0\0\0\0\0\0\x01\x7f\x03", "ZeroMQ"),
        (b"CONFIG GET *\r\n", "Redis"),
        (b"CONFIG SET dir /var/spool/cron\n", "Redis"),
        (b"EVAL \"return 1\" 0\r\n", "Redis"),
        (b"SLAVEOF 10.0.0.1 6379\r\n", "Redis"),
        (b"REPLICAOF NO ONE\r\n", "Redis"),
        (b"HELLO 3 AUTH default secret\r\n", "Redis"),
        (b"KEYS *\r\n", "Redis"),
        (b"CONNECT\naccept-version:1.2\n\n\0", "STOMP"),
        (b"0033git-upload-pack /x.git\0host=y\0", "Git"),
        (b"@RSYNCD: 31.0 sha512\n", "rsync"),
        (b"RFB 003.008\n", "VNC"),
        (b"JDWP-Handshake", "JDWP"),
        (b"AMQP\0\0\x09\x01", "AMQP"),
        (b"\x13BitTorrent protocol\0\0\0\0\0\0\0\0", "BitTorrent"),
        (b"\x10\x10\0\x04MQTT\x04\x02\0\x3c\0\x04", "MQTT"),
        (b"\x04\x01\x00\x50\x7f\0\0\x01\0", "SOCKS4"),
        (b"\x05\x01\x00", "SOCKS5"),
        (b"\x05\x02\x00\x02", "SOCKS5"),
        (b"0\x0c\x02\x01\x01\x60\x07\x02\x01\x03", "LDAP"),
        (b"\x03\0\0\x13\x0e\xe0\0\0", "RDP"),
        (b"\0\0\0\x45\xffSMBr", "binary data"),
        (b"\0\0\0\x45\xfeSMB@", "binary data"),
        (b"\0\0\0\x08\x04\xd2\x16\x2f", "binary data"),
        (b"l\0\x0b\0\0\0", "binary data"),
        (b"\x3f\0\0\0\x01", "binary data"),
        (b"\xff\xfeh\0i\0", "UTF-16"),
        (b"\xfe\xff\0h\0i", "UTF-16"),
    ] {
        assert_eq!(name(bytes), Some(expected), "{:?}", String::from_utf8_lossy(bytes));
    }
}

#[test]
fn likely_first_lines_of_users_are_chat() {
    for line in [
        "GET well soon",
        "JDWP-Handshake is what debuggers of Java say",
        "PROXY UNKNOWN, what is that?",
        "PROXY TCP4 is the first version",
        "@RSYNCD: 31.0 is what rsync says",
        "<stream:stream what?",
        "0033git-upload-pack is a packet line",
        "FLUSHALL",
        "{\"method\": \"x\"} is JSON",
        "CONNECT me",
        "GET / off my lawn",
        "GET /etc/passwd now",
        "get /",
        "GET :)",
        "GET this:",
        "POST it on the wall",
        "PUT the kettle on HTTP/1.1 please",
        "I love HTTP/1.1",
        "get better HTTP/1.1",
        "talk about: HTTP/1.1",
        "HTTP/1.1 is old",
        "HTTP is fun",
        "SSH is great",
        "SSH-2.0",
        "SSH-2.0 is what you want",
        "HELO folks",
        "EHLO everyone",
        "helo everybody",
        "helo all. how are you?",
        "HELO everyone...",
        "EHLO [everyone]",
        "is it EHLO a.b or HELO a.b?",
        "set a date for lunch",
        "set a b c d",
        "set x 1 2",
        "add 1 2 3 4",
        "add apples 1 2 3 please",
        "SET sail tomorrow",
        "SET a b",
        "AUTH x",
        "KEYS",
        "HELLO",
        "HELLO 3",
        "HELLO 3 of you",
        "CONFIG GET",
        "EVAL is evil",
        "SLAVEOF NO",
        "COMMAND me",
        "get key",
        "<3 you all",
        "<policy>",
        "<stream>",
        "// comment",
        "\\o/",
        "C:\\dir",
        "QUIT",
        "USER error",
        "USER a b c",
        "NICK bob",
        "PASS the salt",
        "CAP it",
        "PING",
        "PROXY is down",
        "*1",
        "*2\nfor all",
        "CONNECT me",
        "CONNECT\nme please: now",
        "<?xml version=\"1.0\"?>",
        "RFB 3",
        "AMQP or MQTT?",
        "0033git",
        "/nick bob",
        "version",
        "stats",
        "\t\u{7}hi",
        "\u{1b}[Ahi",
        "hi\r\0there",
        "0",
        "你好",
        "привет",
        "",
        "\r\n",
    ] {
        assert_eq!(name(line.as_bytes()), None, "{line:?}");
        assert_eq!(name(format!("{line}\r\n").as_bytes()), None, "{line:?}");
    }
    assert_eq!(name(b"set alarm 7 30 0\n"), None);
    // Telnet negotiations, some of which contain a NUL.
    for bytes in [
        &b"\xff\xfd\x03\xff\xfb\x18"[..],
        b"\xff\xfd\0\xff\xfb\0",
        b"\xff\xfa\x1f\0\x50\0\x18\xff\xf0",
        b"hi\xff\xfb\0",
    ] {
        assert_eq!(name(bytes), None, "{bytes:?}");
    }
}

#[test]
fn an_ambiguous_beginning_is_recognised_when_its_line_is_complete() {
    for line in ["GET /", "EHLO a.b", "set k 0 0 5", "FLUSHALL SYNC", "CONFIG GET *", "KEYS *"] {
        assert_eq!(name(line.as_bytes()), None, "{line}");
        assert!(recognise_line(format!("{line}\r").as_bytes()).is_some(), "{line}");
        assert!(
            recognise_line(format!("{line} off my lawn, all of you").as_bytes()).is_none(),
            "{line}"
        );
    }
}

#[test]
fn the_http_2_frames_have_correct_lengths() {
    let frame = |bytes: &[u8]| {
        usize::from(bytes[0]) << 16 | usize::from(bytes[1]) << 8 | usize::from(bytes[2])
    };
    let goaway = 9 + frame(GOAWAY);
    assert_eq!((GOAWAY[3], GOAWAY[goaway + 3]), (4, 7), "SETTINGS, GOAWAY");
    assert_eq!(goaway + 9 + frame(&GOAWAY[goaway..]), GOAWAY.len());
}

#[test]
fn a_request_longer_than_a_line_is_recognised_by_its_beginning() {
    let mut bytes = b"GET /".to_vec();
    bytes.resize(2 * LINE_BYTES_MAX, b'x');
    assert_eq!(beginning(&bytes).map(<[u8]>::len), Some(LINE_BYTES_MAX - 1));
    assert_eq!(beginning(&bytes[..LINE_BYTES_MAX - 2]), None, "the rest of the line may come");
    bytes[4] = b'x';
    assert_eq!(beginning(&bytes), None);
}

#[test]
fn answers_are_complete_and_short() {
    for ForeignProtocol { name, answer, .. } in TABLE {
        assert!(answer.len() < 300, "{name}");
        if let Some(at) = memmem::find(answer, b"\r\n\r\n") {
            let body = &answer[at + 4..];
            let head = String::from_utf8_lossy(&answer[..at]);
            assert!(
                head.contains(&format!("\r\nContent-Length: {}\r\n", body.len()))
                    && body.ends_with(b"\n"),
                "{name}: {}",
                body.len()
            );
        } else if answer.starts_with(b"! ") {
            assert!(
                answer.ends_with(b"\n") && memchr::memchr_iter(b'\n', answer).count() == 1,
                "{name}"
            );
        }
    }
}

proptest! {
    #[test]
    fn beginning_recognises_the_same_bytes_as_recognise(
            bytes in prop::collection::vec(any::<u8>(), 0..40),
        ) {
        prop_assert_eq!(beginning(&bytes).is_some(), recognise(&bytes).is_some());
    }

    #[test]
    fn plain_words_are_never_recognised(text in "[a-zA-Z][a-zA-Z ,.!?]{0,60}") {
        prop_assert_eq!(name(text.as_bytes()), None);
        prop_assert!(recognise_line(text.as_bytes()).is_none());
    }
}
