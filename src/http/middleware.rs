//! What happens around every request.

pub mod cors;
pub mod observe;
pub mod own_machine;
pub mod slash;
