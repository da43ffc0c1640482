//! Who is calling, and what they may call. Nothing reaches a service unchecked.
