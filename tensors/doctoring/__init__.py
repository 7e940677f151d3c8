"""What `tensors.doctor` looks at: a module for each noun, whose checks can be shown another machine than this one."""
