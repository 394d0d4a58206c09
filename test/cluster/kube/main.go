// Command kube is every Kubernetes component of the test cluster in one binary, and the provisioner of its volumes.
//
// It runs the component that its first argument names, or, started through a link, the one the link is called after:
// `kube kubelet --config x` and `kubelet --config x` are the same.
package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"
	"k8s.io/component-base/cli"
	kubectlcmd "k8s.io/kubectl/pkg/cmd"
	"k8s.io/kubectl/pkg/cmd/util"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllermanager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	proxy "k8s.io/kubernetes/cmd/kube-proxy/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	kubelet "k8s.io/kubernetes/cmd/kubelet/app"
)

// components builds a command only when it is the one to run: each registers its flags globally.
var components = map[string]func() *cobra.Command{
	"kube-apiserver":          apiserver.NewAPIServerCommand,
	"kube-controller-manager": controllermanager.NewControllerManagerCommand,
	"kube-scheduler":          func() *cobra.Command { return scheduler.NewSchedulerCommand() },
	"kube-proxy":              proxy.NewProxyCommand,
	"kubectl":                 kubectlcmd.NewDefaultKubectlCommand,
	"kubelet":                 func() *cobra.Command { return kubelet.NewKubeletCommand(context.Background()) },
	"folder-provisioner":      newFolderProvisionerCommand,
}

func main() {
	args := os.Args
	if name := filepath.Base(args[0]); components[name] == nil {
		args = args[1:]
	}
	if len(args) == 0 || components[filepath.Base(args[0])] == nil {
		names := make([]string, 0, len(components))
		for name := range components {
			names = append(names, name)
		}
		slices.Sort(names)
		fmt.Fprintf(os.Stderr, "usage: kube COMPONENT [flags], where COMPONENT is one of %v\n", names)
		os.Exit(2)
	}
	name := filepath.Base(args[0])
	os.Args = append([]string{name}, args[1:]...)
	command := components[name]()
	if name == "kubectl" { // kubectl prints its own errors and has its own exit codes
		if err := cli.RunNoErrOutput(command); err != nil {
			util.CheckErr(err)
		}
		return
	}
	os.Exit(cli.Run(command))
}
