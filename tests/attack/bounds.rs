//! What one request may cost: everything that a client sends has a bound, and so has what it causes.
