"""Where items come from: each source yields items and reports what is not one."""
