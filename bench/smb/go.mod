module holdfast/bench/smb

go 1.24
