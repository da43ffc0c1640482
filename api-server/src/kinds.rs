//! The kinds in force: ours and those registered at run time.
