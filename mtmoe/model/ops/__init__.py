"""Operations that layers are made of: rows and padding, keyed noise, int8 products, chunks, buffers and threads."""
