package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/klog/v2"
)

const (
	// provisionerName is what a StorageClass names to get its volumes from here.
	provisionerName = "holdfast.dev/folder"
	// provisionedBy marks the volumes that a provisioner made, and so may delete; the key is Kubernetes' own.
	provisionedBy = "pv.kubernetes.io/provisioned-by"
	// askedProvisioner is set on a claim by kube-controller-manager: the provisioner that has to act.
	askedProvisioner = "volume.kubernetes.io/storage-provisioner"
	// Files in a volume belong to the uid that Holdfast's pods run as; a hostPath volume knows no fsGroup.
	podUID = 65532
)

// folderProvisioner gives each claim a folder of its own below one that all nodes share, so every volume is RWX.
type folderProvisioner struct {
	client     kubernetes.Interface
	hostFolder string // where this process makes the folders
	nodeFolder string // where the nodes see hostFolder
	claims     cache.Indexer
	volumes    cache.Indexer
	classes    cache.Indexer
}

// newFolderProvisionerCommand returns `folder-provisioner`: dynamic provisioning for the test cluster.
func newFolderProvisionerCommand() *cobra.Command {
	var kubeconfig, hostFolder, nodeFolder string
	command := &cobra.Command{
		Use:          "folder-provisioner",
		Short:        "Gives every claim of the class's provisioner " + provisionerName + " a folder that all nodes share",
		Args:         cobra.NoArgs,
		SilenceUsage: true,
		RunE: func(command *cobra.Command, _ []string) error {
			config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
			if err != nil {
				return err
			}
			client, err := kubernetes.NewForConfig(config)
			if err != nil {
				return err
			}
			return runFolderProvisioner(command.Context(), client, hostFolder, nodeFolder)
		},
	}
	command.Flags().StringVar(&kubeconfig, "kubeconfig", "", "how to reach the API server")
	command.Flags().StringVar(&hostFolder, "host-folder", "", "the shared folder as this process sees it")
	command.Flags().StringVar(&nodeFolder, "node-folder", "", "the shared folder as the nodes see it")
	for _, flag := range []string{"kubeconfig", "host-folder", "node-folder"} {
		if err := command.MarkFlagRequired(flag); err != nil {
			panic(err)
		}
	}
	return command
}

func runFolderProvisioner(ctx context.Context, client kubernetes.Interface, hostFolder, nodeFolder string) error {
	if ctx == nil {
		ctx = context.Background()
	}
	factory := informers.NewSharedInformerFactory(client, 0)
	claims := factory.Core().V1().PersistentVolumeClaims().Informer()
	volumes := factory.Core().V1().PersistentVolumes().Informer()
	classes := factory.Storage().V1().StorageClasses().Informer()
	provisioner := &folderProvisioner{
		client: client, hostFolder: hostFolder, nodeFolder: nodeFolder,
		claims: claims.GetIndexer(), volumes: volumes.GetIndexer(), classes: classes.GetIndexer(),
	}

	queue := workqueue.NewTypedRateLimitingQueue(workqueue.DefaultTypedControllerRateLimiter[string]())
	enqueue := func(prefix string) cache.ResourceEventHandler {
		add := func(object any) {
			if key, err := cache.MetaNamespaceKeyFunc(object); err == nil {
				queue.Add(prefix + key)
			}
		}
		return cache.ResourceEventHandlerFuncs{AddFunc: add, UpdateFunc: func(_, object any) { add(object) }}
	}
	for informer, prefix := range map[cache.SharedIndexInformer]string{claims: "claim:", volumes: "volume:"} {
		if _, err := informer.AddEventHandler(enqueue(prefix)); err != nil {
			return err
		}
	}
	factory.Start(ctx.Done())
	factory.WaitForCacheSync(ctx.Done())
	klog.InfoS("Provisioning", "provisioner", provisionerName, "hostFolder", hostFolder, "nodeFolder", nodeFolder)

	wait.UntilWithContext(ctx, func(ctx context.Context) {
		for {
			key, stopped := queue.Get()
			if stopped {
				return
			}
			if err := provisioner.reconcile(ctx, key); err != nil {
				klog.ErrorS(err, "Will try again", "key", key)
				queue.AddRateLimited(key)
			} else {
				queue.Forget(key)
			}
			queue.Done(key)
		}
	}, time.Second)
	return nil
}

func (p *folderProvisioner) reconcile(ctx context.Context, key string) error {
	if name, found := strings.CutPrefix(key, "claim:"); found {
		object, exists, err := p.claims.GetByKey(name)
		if err != nil || !exists {
			return err
		}
		return p.provision(ctx, object.(*corev1.PersistentVolumeClaim))
	}
	name, _ := strings.CutPrefix(key, "volume:")
	object, exists, err := p.volumes.GetByKey(name)
	if err != nil || !exists {
		return err
	}
	return p.reclaim(ctx, object.(*corev1.PersistentVolume))
}

// provision makes the folder and the volume of a claim that has none.
func (p *folderProvisioner) provision(ctx context.Context, claim *corev1.PersistentVolumeClaim) error {
	if claim.Spec.VolumeName != "" || claim.DeletionTimestamp != nil || claim.Spec.StorageClassName == nil ||
		claim.Annotations[askedProvisioner] != provisionerName {
		return nil
	}
	object, exists, err := p.classes.GetByKey(*claim.Spec.StorageClassName)
	if err != nil {
		return err
	}
	if !exists {
		return fmt.Errorf("claim %s/%s names the storage class %s, which does not exist", claim.Namespace, claim.Name, *claim.Spec.StorageClassName)
	}
	class := object.(*storagev1.StorageClass)

	name := "pvc-" + string(claim.UID)
	folder := filepath.Join(p.hostFolder, name)
	if err := os.MkdirAll(folder, 0o777); err != nil {
		return err
	}
	// MkdirAll is subject to the umask.
	if err := errors.Join(os.Chmod(folder, 0o777), os.Chown(folder, podUID, podUID)); err != nil {
		return err
	}
	policy := corev1.PersistentVolumeReclaimDelete
	if class.ReclaimPolicy != nil {
		policy = *class.ReclaimPolicy
	}
	volume := &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: map[string]string{provisionedBy: provisionerName}},
		Spec: corev1.PersistentVolumeSpec{
			Capacity:                      corev1.ResourceList{corev1.ResourceStorage: claim.Spec.Resources.Requests[corev1.ResourceStorage]},
			AccessModes:                   claim.Spec.AccessModes,
			PersistentVolumeReclaimPolicy: policy,
			StorageClassName:              class.Name,
			ClaimRef: &corev1.ObjectReference{
				APIVersion: "v1", Kind: "PersistentVolumeClaim",
				Namespace: claim.Namespace, Name: claim.Name, UID: claim.UID, ResourceVersion: claim.ResourceVersion,
			},
			PersistentVolumeSource: corev1.PersistentVolumeSource{
				HostPath: &corev1.HostPathVolumeSource{Path: filepath.Join(p.nodeFolder, name)},
			},
		},
	}
	_, err = p.client.CoreV1().PersistentVolumes().Create(ctx, volume, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		return nil
	}
	if err == nil {
		klog.InfoS("Provisioned", "claim", klog.KObj(claim), "volume", name)
	}
	return err
}

// reclaim deletes a volume made here whose claim is gone, and what is in it.
func (p *folderProvisioner) reclaim(ctx context.Context, volume *corev1.PersistentVolume) error {
	if volume.Annotations[provisionedBy] != provisionerName || volume.Status.Phase != corev1.VolumeReleased ||
		volume.Spec.PersistentVolumeReclaimPolicy != corev1.PersistentVolumeReclaimDelete || volume.DeletionTimestamp != nil {
		return nil
	}
	// The folder follows from the name: a path in an object that others may write is not to be trusted with a recursive delete.
	if err := os.RemoveAll(filepath.Join(p.hostFolder, filepath.Base(volume.Name))); err != nil {
		return err
	}
	err := p.client.CoreV1().PersistentVolumes().Delete(ctx, volume.Name, metav1.DeleteOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err == nil {
		klog.InfoS("Reclaimed", "volume", volume.Name)
	}
	return err
}
