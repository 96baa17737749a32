//! Removes escape sequences from client input. A terminal sends them for keys without a character
//! (arrows, the marks around a paste), and programs write them for colours. No part of them is
//! text, so each is removed whole: a remainder before the slash of a command would turn the command
//! into a line for the room.
//!
//! Sources: ECMA-48, sections 5.4 (control sequences) and 5.6 (control strings); xterm's ctlseqs
//! (keys).

/// Skips an escape sequence: `rest` starts after its ESC, the result after its end. A user may have
/// pressed Esc and typed on, so only known sequences are skipped.
pub fn after_escape(rest: &str) -> &str {
    let end = match rest.as_bytes() {
        // Function keys of the Linux console.
        [b'[', b'[', b'A'..=b'E', ..] => Some(3),
        [b'[', ..] => return after_control_sequence(&rest[1..]),
        [b'O', ..] => key_end(rest),
        [b']' | b'P' | b'X' | b'^' | b'_', ..] => string_end(rest),
        // Selection of the terminal's character set.
        [b'('..=b'+', b'0'..=b'9' | b'A'..=b'Z', ..]
        | [b'%', b'@' | b'G', ..]
        | [b'#', b'3'..=b'8', ..] => Some(2),
        _ => None,
    };
    &rest[end.or_else(|| key_with_alt_end(rest)).unwrap_or(0)..]
}

/// Skips a control sequence: `rest` starts after its CSI, the result after its end. An incomplete
/// sequence ends at the first character that doesn't belong to it. A slash never belongs to it,
/// since no known sequence contains one.
pub fn after_control_sequence(rest: &str) -> &str {
    let rest = rest.trim_start_matches(|c| matches!(c, '0'..='?'));
    let rest = rest.trim_start_matches(|c| matches!(c, ' '..='.'));
    rest.strip_prefix(|c| matches!(c, '@'..='~')).unwrap_or(rest)
}

/// The end of an arrow or function key that is sent as SS3, maybe with a number for modifiers.
fn key_end(rest: &str) -> Option<usize> {
    let key = rest[1..].trim_start_matches(|c| matches!(c, '0'..='9' | ';'));
    key.starts_with(|c| matches!(c, 'A'..='F' | 'H' | 'M' | 'P'..='S'))
        .then(|| rest.len() - key.len() + 1)
}

/// The end of a control string, such as a window's title or a terminal's answer: after BEL or ST.
fn string_end(rest: &str) -> Option<usize> {
    let end = rest.find(['\u{7}', '\u{1b}', '\u{9c}'])?;
    let terminator = ["\u{7}", "\u{1b}\\", "\u{9c}"]
        .into_iter()
        .find(|terminator| rest[end..].starts_with(terminator))?;
    Some(end + terminator.len())
}

/// The end of a key that was pressed together with Alt. It looks like a character typed after Esc,
/// so it only counts as a key if a command or a control character follows.
fn key_with_alt_end(rest: &str) -> Option<usize> {
    matches!(rest.as_bytes(), [key, b'/' | 0..=0x1f, ..] if key.is_ascii_graphic() && *key != b'/')
        .then_some(1)
}
