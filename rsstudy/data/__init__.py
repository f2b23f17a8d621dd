"""Image-text sets: readers, generated scenes, decoded pictures and the audit."""
