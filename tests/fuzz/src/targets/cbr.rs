//! What CBR v3 answers.

use crate::script::Conversation;

pub(crate) const MAX_LEN: usize = 8 * 1024;

pub(crate) fn run(data: &[u8]) {
    crate::conversation::hold(&Conversation::read("cbr-v3", data));
}
