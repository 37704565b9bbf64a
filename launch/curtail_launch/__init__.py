"""What starts training at sites: rank programs, where the library and the model meet."""
