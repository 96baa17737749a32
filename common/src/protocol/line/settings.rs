//! The settings of a session that `/set` switches.

/// The settings that `/set` switches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setting {
    /// Whether the session receives its own lines too.
    Echo,
    /// Whether the session is notified of joins, leaves, quits and nick changes of others.
    Joins,
    /// Whether each line starts with tags for programs.
    Tags,
}

/// All settings with their names and descriptions.
pub const SETTINGS: [(Setting, &str, &str); 3] = [
    (Setting::Echo, "echo", "sends you your own lines too, once accepted, as others see them"),
    (Setting::Joins, "joins", "notifies you when others join, leave, quit or change nickname"),
    (Setting::Tags, "tags", "starts each line with tags for programs"),
];

/// Parses the arguments of `/set`: a setting's name, and `on` or `off`. `None` if they have another
/// form.
pub fn parse_setting(arguments: &str) -> Option<(Setting, bool)> {
    let (name, value) = arguments.split_once(char::is_whitespace)?;
    let (setting, ..) = SETTINGS.iter().find(|(_, known, _)| known.eq_ignore_ascii_case(name))?;
    match value.trim() {
        value if value.eq_ignore_ascii_case("on") => Some((*setting, true)),
        value if value.eq_ignore_ascii_case("off") => Some((*setting, false)),
        _ => None,
    }
}
