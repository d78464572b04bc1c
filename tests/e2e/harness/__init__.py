"""What the system tests are built from: real programs, real certificates, free loopback ports, and honest waiting."""
