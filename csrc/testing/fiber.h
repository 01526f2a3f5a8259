#pragma once

#include <cstddef>

#include "testing/stack_switch.h"

namespace wsss_fast::testing {

// Memory for a stack. What grows beyond it ends the process.
class Stack {
  public:
    Stack();
    ~Stack();
    Stack(const Stack&) = delete;
    Stack& operator=(const Stack&) = delete;

    char* bottom() const { return bottom_; }
    static std::size_t bytes();

  private:
    char* bottom_;
};

// A function that runs on a stack of its own and can be left in the middle. One belongs to the
// thread that made it.
class Fiber {
  public:
    using Body = void (*)(Fiber&);

    explicit Fiber(Body body);  // the body lets no exception out
    Fiber(const Fiber&) = delete;
    Fiber& operator=(const Fiber&) = delete;

    // Starts the body, or goes on with it, until it pauses or ends. After its end it starts anew.
    void resume();

    // In the body: goes back to where resume() was called.
    void pause();

    bool idle() const { return idle_; }  // the body has not started or has ended

  private:
    static void enter();
    void leave(bool for_good);

    const Body body_;
    const Stack stack_;
    StackPointer inside_{};
    StackPointer outside_{};
    bool idle_ = true;
    void* fake_stack_ = nullptr;  // AddressSanitizer's, of the body while it pauses
    const void* caller_stack_ = nullptr;
    std::size_t caller_stack_bytes_ = 0;
};

}  // namespace wsss_fast::testing
