//! Removes escape sequences from client input. A terminal sends them for keys without a character
//! (arrows, the marks around a paste), and programs write them for colours. No part of them is
//! text, so each is removed whole: a remainder in front of the slash of a command would turn the
//! command into a line that is said.
//!
//! Sources: ECMA-48, sections 5.4 (control sequences) and 5.6 (control strings); xterm's ctlseqs
//! (keys).

/// What follows an escape sequence; `rest` is what follows its ESC. A person may have pressed Esc
/// and typed on, so what isn't known as a sequence stays.
pub fn after_escape(rest: &str) -> &str {
    let end = match rest.as_bytes() {
        // Function keys of the Linux console.
        [b'[', b'[', b'A'..=b'E', ..] => Some(3),
        [b'[', ..] => return after_control_sequence(&rest[1..]),
        [b'O', ..] => key_end(rest),
        [b']' | b'P' | b'X' | b'^' | b'_', ..] => string_end(rest),
        // Which character set the terminal shows.
        [b'('..=b'+', b'0'..=b'9' | b'A'..=b'Z', ..]
        | [b'%', b'@' | b'G', ..]
        | [b'#', b'3'..=b'8', ..] => Some(2),
        _ => None,
    };
    &rest[end.or_else(|| key_with_alt_end(rest)).unwrap_or(0)..]
}

/// What follows a control sequence; `rest` is what follows its CSI. A sequence that isn't complete
/// ends at the first character that doesn't belong to it. No known sequence has a slash in it, so a
/// slash doesn't belong to it either.
pub fn after_control_sequence(rest: &str) -> &str {
    let rest = rest.trim_start_matches(|c| matches!(c, '0'..='?'));
    let rest = rest.trim_start_matches(|c| matches!(c, ' '..='.'));
    rest.strip_prefix(|c| matches!(c, '@'..='~')).unwrap_or(rest)
}

/// Where an arrow or a function key ends that is sent as SS3, maybe with a number for Shift and the
/// like.
fn key_end(rest: &str) -> Option<usize> {
    let key = rest[1..].trim_start_matches(|c| matches!(c, '0'..='9' | ';'));
    key.starts_with(|c| matches!(c, 'A'..='F' | 'H' | 'M' | 'P'..='S'))
        .then(|| rest.len() - key.len() + 1)
}

/// Where a control string ends, such as a window's title or a terminal's answer: at BEL or ST.
fn string_end(rest: &str) -> Option<usize> {
    let end = rest.find(['\u{7}', '\u{1b}', '\u{9c}'])?;
    let terminator = ["\u{7}", "\u{1b}\\", "\u{9c}"]
        .into_iter()
        .find(|terminator| rest[end..].starts_with(terminator))?;
    Some(end + terminator.len())
}

/// Where a key ends that was pressed together with Alt. It looks like a character that was typed
/// after Esc, so it is taken for one unless a command or a control character follows.
fn key_with_alt_end(rest: &str) -> Option<usize> {
    matches!(rest.as_bytes(), [key, b'/' | 0..=0x1f, ..] if key.is_ascii_graphic() && *key != b'/')
        .then_some(1)
}
