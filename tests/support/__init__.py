"""What tests share: real databases, real programs, a clock that tests move, small studies."""
