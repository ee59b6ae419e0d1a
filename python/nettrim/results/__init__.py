"""What `nettrim.trim` hands back: data below; text, pages and files above; one face on top."""
