//! The language of the output: English, or Chinese with `--lang zh` or where the environment says
//! so.

use std::env;
use std::sync::atomic::{AtomicBool, Ordering};

/// Inherited by the processes that are forked later.
static CHINESE: AtomicBool = AtomicBool::new(false);

/// What `--lang` takes.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Language {
    En,
    Zh,
}

/// Takes the language that was asked for, or else that of the environment.
pub fn choose(asked_for: Option<Language>) {
    CHINESE.store(
        asked_for.map_or_else(is_chinese_environment, |language| language == Language::Zh),
        Ordering::Relaxed,
    );
}

/// Whether the output is Chinese.
pub fn is_chinese() -> bool {
    CHINESE.load(Ordering::Relaxed)
}

/// The first of these variables that is not empty decides. Source: locale(7), setlocale(3).
fn is_chinese_environment() -> bool {
    let locale = ["LC_ALL", "LC_MESSAGES", "LANG"]
        .into_iter()
        .filter_map(env::var_os)
        .find(|locale| !locale.is_empty());
    locale.is_some_and(|locale| locale.to_string_lossy().starts_with("zh"))
}
