//! Entry points of the fuzz targets. An ordinary test calls them too, with a short seeded run.
