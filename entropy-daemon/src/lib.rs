//! Injects network failures into Docker containers from inside the kernel.
