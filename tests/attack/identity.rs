//! Who is it, and whose is it: anonymous callers, roles, names, tokens, what development leaves open.
