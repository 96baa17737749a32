//! The guides in `server/doc`, each for one kind of reader. In the repository, the same files link
//! to each other as files.
//!
//! In the text of a guide, links are references such as `[recovery guide][recovery]`. Their targets
//! are defined twice: at the end of the guide as a file, and in `guide/links.md` as an item or a
//! page of this documentation. `links.md` is included before each guide, and the first of two
//! definitions is used. `tests/tests/documentation.rs` checks that each reference has both.

/// Defines a module for each guide.
macro_rules! guides {
    ($($name:ident: $file:literal,)*) => {
        $(
            #[doc = include_str!("guide/links.md")]
            #[doc = include_str!(concat!("../doc/", $file))]
            pub mod $name {}
        )*
    };
}

guides! {
    learning: "learning.md",
    learning_zh: "learning.zh-CN.md",
    operating: "operating.md",
    limits: "limits.md",
    protocol: "protocol.md",
    client: "client.md",
    recovery: "recovery.md",
    load_test: "load-test.md",
    glossary: "glossary.md",
}
