import CLinux

/// What a person sees and types on.
package enum Terminal {
    /// Whether a descriptor leads to a terminal.
    package static func isTerminal(_ descriptor: Int32) -> Bool { hf_is_terminal(descriptor) == 1 }

    /// Columns of a terminal; 80 when it does not say.
    package static func width(_ descriptor: Int32) -> Int {
        let columns = hf_terminal_width(descriptor)
        return columns > 0 ? columns : 80
    }

    /// Asks for a passphrase on the controlling terminal, without showing it; standard input may be something else.
    ///
    /// Returns the bytes typed, without the newline. Throws `noDevice` when there is no terminal, `interrupted` when the
    /// person gave up with Control-C or another signal asked to stop (after `Signals.install`), `noData` at end of input, `overflow` beyond 1,024 bytes.
    package static func readPassphrase(prompt: String) throws(Errno) -> [UInt8] {
        let terminal = try FileDescriptor.open("/dev/tty", [.readWrite])
        return try readPassphrase(from: terminal.raw, prompt: prompt)
    }

    /// As the other `readPassphrase`, on an open terminal.
    static func readPassphrase(from number: Int32, prompt: String) throws(Errno) -> [UInt8] {
        try readLine(from: number, prompt: prompt, isShown: false)
    }

    /// Asks a question on the controlling terminal; what is typed is shown. Throws as `readPassphrase` does.
    package static func readAnswer(prompt: String) throws(Errno) -> [UInt8] {
        let terminal = try FileDescriptor.open("/dev/tty", [.readWrite])
        return try readLine(from: terminal.raw, prompt: prompt, isShown: true)
    }

    private static func readLine(from number: Int32, prompt: String, isShown: Bool) throws(Errno) -> [UInt8] {
        let capacity = 1024
        var failure: Errno?
        let bytes = withUnsafeTemporaryAllocation(of: CChar.self, capacity: capacity) { buffer -> [UInt8] in
            let start = buffer.baseAddress.unsafelyUnwrapped
            let length = hf_read_line(number, prompt, start, capacity, isShown ? 1 : 0)
            defer { hf_erase(start, capacity) }
            if length < 0 {
                failure = Errno(code: Int32(-length))
                return []
            }
            return [UInt8](UnsafeRawBufferPointer(start: start, count: length))
        }
        if let failure { throw failure }
        return bytes
    }

    /// Overwrites a secret in memory.
    package static func erase(_ bytes: inout [UInt8]) {
        bytes.withUnsafeMutableBytes { buffer in
            if let start = buffer.baseAddress { hf_erase(start, buffer.count) }
        }
    }
}
