import CLinux

/// Requests to stop: SIGINT, SIGTERM and SIGHUP set a flag that long work looks at. SIGPIPE is ignored, so that writing
/// to a closed pipe is an error like any other.
package enum Signals {
    /// Installs the handlers; once at the start of the program.
    package static func install() throws(Errno) { try retrying { hf_signals_install() } }

    /// The number of the signal that asked to stop, or `nil`. Costs one load: loops may ask for each file.
    @inline(__always)
    package static var received: Int32? {
        let signal = hf_signals_received()
        return signal == 0 ? nil : signal
    }

    /// The name of a signal for messages.
    package static func name(_ signal: Int32) -> String {
        switch signal {
        case HF_SIGINT: "SIGINT"
        case HF_SIGTERM: "SIGTERM"
        case HF_SIGHUP: "SIGHUP"
        default: "signal \(signal)"
        }
    }

    /// Waits until a signal arrives or time is up; `true` when one arrived. Needs `install`.
    package static func wait(milliseconds: Int32) throws(Errno) -> Bool {
        if received != nil { return true }
        let descriptor = hf_signals_descriptor()
        if descriptor < 0 { throw .badDescriptor }
        let outcome = hf_wait_readable(descriptor, milliseconds)
        if outcome < 0 && outcome != -4 { throw Errno(code: Int32(-outcome)) }
        return received != nil
    }

    /// Forgets what was received, so that a second signal is seen as one.
    package static func reset() { hf_signals_reset() }
}
