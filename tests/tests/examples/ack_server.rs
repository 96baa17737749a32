use forkchat_tests::Client;
use forkchat_tests::example::Example;
use forkchat_tests::processes::children_of;
use nix::sys::signal::{Signal, kill};
use std::io::Write;
use std::net::{SocketAddr, TcpStream};

#[test]
fn ack_server() {
    let example = Example::start("ack_server", &["127.0.0.1:0"]);
    let address: SocketAddr = example.reads("listening on ").split(',').next().unwrap().parse().unwrap();
    // GBK where nothing is said: a character in two pieces, two messages in one.
    let mut client = Client::new(TcpStream::connect(address).unwrap());
    client.send(b"\xc4\xe3\xba");
    client.send(b"\xc3\none\ntwo\n");
    let answers = [(); 3].map(|()| client.line_bytes().unwrap());
    assert_eq!(answers, [b"received: \xc4\xe3\xba\xc3".to_vec(), b"received: one".to_vec(), b"received: two".to_vec()]);
    client.say("/charset utf-8");
    client.say("grüß dich");
    client.reads("received: grüß dich");
    client.send("ohne Ende".as_bytes());
    client.end_input();
    assert_eq!(client.rest(), ["received: ohne Ende"], "and then the end");
    // A line that is too long is refused once, however long, and the next one is heard. One that is as long as may be is heard as a whole.
    let mut long = Client::new(TcpStream::connect(address).unwrap());
    for bytes in [4_097, 20_000] {
        long.send(&b"\xc4\xe3".repeat(bytes / 2 + 1));
        long.say("\nhere again");
        assert_eq!(long.line().as_deref(), Some("refused: a line of more than 4096 bytes; send it in several"));
        assert_eq!(long.line().as_deref(), Some("received: here again"));
    }
    long.say(&"x".repeat(4_096));
    assert_eq!(long.line(), Some(format!("received: {}", "x".repeat(4_096))));
    drop(long);
    // Many at a time, each by two threads; and one who never reads holds nobody up.
    let mut deaf = TcpStream::connect(address).unwrap();
    deaf.write_all(&b"nobody reads this\n".repeat(1_000)).unwrap();
    let mut many: Vec<Client> = (0..20).map(|_| Client::new(TcpStream::connect(address).unwrap())).collect();
    for (number, client) in many.iter_mut().enumerate() {
        client.say(&format!("I am {number}"));
    }
    for (number, client) in many.iter_mut().enumerate() {
        client.reads(&format!("received: I am {number}"));
    }
    drop((deaf, many));
    let ended = example.finish();
    ended.said(&["nobody has been there for 2 s; the end"]);
    for answers in
        ["in gbk, of which nothing was said | received: 你好 | received: in gbk", "| received: grüß dich |", "| received: привет |"]
    {
        assert!(ended.text.contains(answers), "{ended}");
    }
}

#[test]
fn an_ack_server_whose_worker_ends_says_so() {
    let example = Example::start("ack_server", &[]);
    example.reads("a client of our own, pid ");
    for _ in 0..2 {
        example.reads("in utf-8");
    }
    example.reads("in windows-1251");
    let worker = children_of(example.pid())[0];
    kill(worker, Signal::SIGKILL).expect("it is there");
    let ended = example.finish();
    assert_eq!(ended.code, Some(1), "{ended}");
    assert!(ended.text.contains(&format!("pid {worker}: killed by signal 9")), "{ended}");
}
