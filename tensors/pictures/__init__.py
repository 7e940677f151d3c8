"""The gallery's parts: names, files, index, search, trash, thumbnails, cleanup. `tensors.gallery` joins them."""
