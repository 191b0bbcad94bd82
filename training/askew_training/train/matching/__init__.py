"""Function matching: the teacher describes the same views of photos that the student sees."""
