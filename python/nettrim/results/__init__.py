"""What `nettrim.trim` hands back: data below, text, pages, pictures and files above, one face on top."""
