//! What a page comes back with, so that nobody else can.

use turn_types::stun::message::TransactionId;

/// 192 bits of the system's randomness, in hexadecimal.
pub(crate) fn new_key() -> String {
    let random = || u128::from(TransactionId::generate());
    format!("{:024x}{:024x}", random(), random())
}

/// Whether two keys are the same, in a time that does not tell where they differ.
pub(crate) fn is_same(a: &str, b: &str) -> bool {
    let pairs = a.bytes().zip(b.bytes());
    a.len() == b.len() && pairs.fold(0, |difference, (a, b)| difference | (a ^ b)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys() {
        let (a, b) = (new_key(), new_key());
        assert_eq!((a.len(), is_same(&a, &b)), (48, false));
        assert!(is_same(&a, &a.clone()) && !is_same(&a, &a[1..]) && !is_same(&a, ""));
    }
}
