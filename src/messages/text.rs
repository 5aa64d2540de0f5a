//! Bounds on texts of others.

/// The most characters of an error in an event. It may hold what others wrote: a trigger's words, an answer of the API.
/// A broker may take messages of 1 MiB and no larger ones.
pub const MAX_ERROR: usize = 2_000;

/// The text, of which no more than `most` characters are left.
pub fn shortened(mut text: String, most: usize) -> String {
    if let Some((end, _)) = text.char_indices().nth(most) {
        text.truncate(end);
        text.push('…');
    }
    text
}
